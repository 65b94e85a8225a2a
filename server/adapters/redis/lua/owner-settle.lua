-- Replaces an answer of an owner, or removes it; another than the one that is named stays.
-- KEYS[1]  hash: answers of the owner
-- KEYS[2]  sorted set: their fields by when the command was accepted
-- ARGV[2]  the field
-- ARGV[3]  the answer as it must be
-- ARGV[4]  the answer in its place; empty removes it
-- Returns  nothing
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then
  return false
end
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('ZREM', KEYS[2], ARGV[2])
else
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
end
return false
