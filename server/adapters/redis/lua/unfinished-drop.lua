-- Takes a session off the list, unless it was listed again.
-- KEYS[1]  sorted set: sessions with unfinished turns by when they were listed, microseconds since 1970
-- ARGV[2]  the session's id
-- ARGV[3]  when it was listed, as it is known
-- ARGV[4]  how long ago that must be at least, milliseconds
-- Returns  nothing
local at = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or 0)
if at == tonumber(ARGV[3]) and at <= now_us() - tonumber(ARGV[4]) * 1000 then
  redis.call('ZREM', KEYS[1], ARGV[2])
end
return false
