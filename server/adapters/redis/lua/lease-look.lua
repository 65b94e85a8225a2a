-- Looks whether a listed session has a turn, and how long somebody holds it.
-- KEYS[1]  hash: the session
-- Returns  { 1 where its row says that a turn runs or waits, else 0; how long its lease lives on, milliseconds, 0 where none lives }
local kept = redis.call('HMGET', KEYS[1], 'unfinished', 'until')
local left = math.max(0, tonumber(kept[2] or 0) - now_ms())
return { kept[1] == '1' and 1 or 0, left }
