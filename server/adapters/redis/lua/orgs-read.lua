-- Tells which organisations may have holds, and drops those that nobody announced for long.
-- KEYS[1]  sorted set: organisations by when a node last said so, milliseconds since 1970
-- ARGV[2]  how long is long, milliseconds
-- Returns  { those that stay; those that were dropped }
-- Time is that of Redis, as it is announced by.
local before = string.format('%.0f', tonumber(redis.call('TIME')[1]) * 1000 - tonumber(ARGV[2]))
local dropped = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before)
if #dropped > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', before)
end
return { redis.call('ZRANGE', KEYS[1], 0, -1), dropped }
