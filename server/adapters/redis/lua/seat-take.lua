-- Takes a seat of a user where fewer than the limit are taken, or renews it where it is this one's already.
-- KEYS[1]  sorted set: seats by when they lapse, milliseconds since 1970
-- ARGV[2]  the seat's id
-- ARGV[3]  the limit
-- ARGV[4]  how long it is held, milliseconds
-- Returns  1 where the seat is held, else 0
local now = now_ms()
local lease = tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + lease), ARGV[2])
redis.call('PEXPIRE', KEYS[1], lease)
return 1
