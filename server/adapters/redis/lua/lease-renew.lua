-- Holds a lease on.
-- KEYS[1]  hash: the session
-- ARGV[2]  the token
-- ARGV[3]  how long it lives, milliseconds
-- ARGV[4]  the head that the holder knows to be written
-- ARGV[5]  the head where what it has sent is written, too
-- Returns  1, or 0 where it is another's now, or where this Redis can't have all that the holder wrote
local kept = redis.call('HMGET', KEYS[1], 'token', 'history', 'until', 'head')
if kept[1] ~= ARGV[2] then
  return 0
end
local now = now_ms()
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local head = kept[4] or '0'
if kept[2] ~= history and (tonumber(kept[3]) <= now or (head ~= ARGV[4] and head ~= ARGV[5])) then
  return 0
end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + tonumber(ARGV[3])), 'history', history)
return 1
