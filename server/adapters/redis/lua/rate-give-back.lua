-- Gives back one of a user's requests, as if it had not been taken.
-- KEYS[1]  string: when all that was taken has come back, microseconds since 1970
-- ARGV[2]  requests a minute, as it was taken with
-- Returns  nothing. What has come back meanwhile is not given twice.
local arrival = tonumber(redis.call('GET', KEYS[1]) or 0)
local before = arrival - math.ceil(60000000 / tonumber(ARGV[2]))
local now = now_us()
if before > now then
  redis.call('SET', KEYS[1], string.format('%.0f', before), 'PX', math.ceil((before - now) / 1000))
else
  redis.call('DEL', KEYS[1])
end
return false
