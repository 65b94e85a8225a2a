-- Replaces a session's checkpoint, unless it has a later one.
-- KEYS[1]  hash: the session
-- ARGV[2]  the seq that it covers
-- ARGV[3]  JSON
-- Returns  nothing
local kept = redis.call('HMGET', KEYS[1], 'created', 'checkpoint_seq')
if kept[1] and tonumber(kept[2] or 0) <= tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'checkpoint_seq', ARGV[2], 'checkpoint', ARGV[3])
end
return false
