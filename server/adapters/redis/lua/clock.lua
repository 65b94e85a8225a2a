-- The time that a script goes by. ARGV[1]: milliseconds since 1970, or empty for the time of this Redis.
local function now_us()
  if ARGV[1] ~= '' then
    return math.floor(tonumber(ARGV[1]) * 1000 + 0.5)
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now_ms()
  return math.floor(now_us() / 1000)
end
