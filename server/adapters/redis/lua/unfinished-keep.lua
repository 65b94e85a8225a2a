-- Lists sessions whose turns run, where a failover lost that; what is listed stays as it is.
-- KEYS[1]  sorted set: sessions with unfinished turns by when they were listed, microseconds since 1970
-- ARGV[2…] the sessions' ids
-- Returns  nothing
local at = string.format('%.0f', now_us())
for n = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'NX', at, ARGV[n])
end
return false
