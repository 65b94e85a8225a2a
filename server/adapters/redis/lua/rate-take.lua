-- Takes one of a user's requests, where there is one (generic cell rate algorithm).
-- KEYS[1]  string: when all that was taken has come back, microseconds since 1970
-- ARGV[2]  requests a minute, at least 1
-- Returns  { 1 where it was taken, else 0; requests that are left; ms until one more; ms until all }
-- A refusal changes nothing. The same arithmetic as server/core/request-rate.ts.
local per_minute = tonumber(ARGV[2])
local interval = math.ceil(60000000 / per_minute)
local full = per_minute * interval
local now = now_us()
local arrival = tonumber(redis.call('GET', KEYS[1]) or 0)
local owed = math.min(math.max(0, arrival - now), full)
local taken = 0
if owed + interval <= full then
  taken = 1
  owed = owed + interval
  redis.call('SET', KEYS[1], string.format('%.0f', now + owed), 'PX', math.ceil(owed / 1000))
end
local free = full - owed
local remaining = math.floor(free / interval)
local retry_ms = 0
if remaining == 0 then
  retry_ms = math.ceil((interval - free) / 1000)
end
return { taken, remaining, retry_ms, math.ceil(owed / 1000) }
