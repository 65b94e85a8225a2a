-- Settles a hold, once, into the windows that it was held in, and puts what was used on record.
-- KEYS[1]  hash: windows of the user
-- KEYS[2]  hash: windows of the organisation
-- KEYS[3]  hash: the hold; may be gone, or never have been
-- KEYS[4]  sorted set: holds of the organisation by when they lapse, milliseconds since 1970
-- KEYS[5]  string: that this hold was settled
-- KEYS[6]  hash: what the user spent on the day of the hold
-- KEYS[7]  set: who spent anything on that day
-- ARGV[2]  id of the hold
-- ARGV[3]  when it was held, milliseconds since 1970
-- ARGV[4]  1 where it is settled only if it has lapsed, else 0
-- ARGV[5]  nano-dollars used
-- ARGV[6]  input tokens; [7] output tokens; [8] tokens written to the cache; [9] tokens read from it
-- ARGV[10] field of the record: session, model and tags
-- ARGV[11] the user
-- ARGV[12] how long it is known as settled, seconds
-- ARGV[13] how long the record is kept, seconds
-- ARGV[14] channel to tell that something was freed; [15] the message
-- ARGV[16] thresholds in percent, the highest first, with spaces between
-- ARGV[17…] limits, three each: the window (1 to 4), the unit (1 tokens, 2 nano-dollars), the bound
-- Returns  nothing where it was settled before, or has not lapsed; else
--          { for each limit that is to be warned of: its number, used, held } as text, flat
-- All checks come before the first write. All keys are of one organisation, so of one slot.
local hold = redis.call('HMGET', KEYS[3], 'at', 'lapses', 'tokens', 'nano')
if hold[1] then
  if ARGV[4] == '1' and tonumber(hold[2]) > now_ms() then
    return false
  end
elseif ARGV[4] == '1' or redis.call('EXISTS', KEYS[5]) == 1 then
  redis.call('ZREM', KEYS[4], ARGV[2])
  return false
end

local nano = tonumber(ARGV[5])
local tokens = 0
for n = 6, 9 do
  tokens = tokens + tonumber(ARGV[n])
end
local at = tonumber(hold[1] or ARGV[3])
local windows = windows_at(at, KEYS[1], KEYS[2])
if hold[1] then
  add_to(windows, HELD, -tonumber(hold[3]), -tonumber(hold[4]))
end
add_to(windows, USED, tokens, nano)

local warnings = {}
for n = 17, #ARGV, 3 do
  local numbers = windows[tonumber(ARGV[n])].numbers
  local unit = tonumber(ARGV[n + 1])
  local bound = tonumber(ARGV[n + 2])
  local reached = 0
  for percent in string.gmatch(ARGV[16], '%d+') do
    if reached == 0 and bound > 0 and numbers[USED + unit] >= bound * tonumber(percent) / 100 then
      reached = tonumber(percent)
    end
  end
  if reached > numbers[TOLD + unit] then
    numbers[TOLD + unit] = reached
    warnings[#warnings + 1] = to_text((n - 17) / 3)
    warnings[#warnings + 1] = to_text(numbers[USED + unit])
    warnings[#warnings + 1] = to_text(numbers[HELD + unit])
  end
end

if hold[1] or tokens > 0 or nano > 0 then
  put_windows(windows, at)
  redis.call('SET', KEYS[5], '1', 'EX', ARGV[12])
end
if hold[1] then
  redis.call('DEL', KEYS[3])
  redis.call('ZREM', KEYS[4], ARGV[2])
  redis.call('PUBLISH', ARGV[14], ARGV[15])
end
if tokens > 0 or nano > 0 then
  local sums = unpack_window(redis.call('HGET', KEYS[6], ARGV[10]) or nil)
  local added = { 1, tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), nano }
  for n, number in ipairs(added) do
    sums[n] = sums[n] + number
  end
  redis.call('HSET', KEYS[6], ARGV[10], pack_window(sums))
  redis.call('EXPIRE', KEYS[6], ARGV[13])
  redis.call('SADD', KEYS[7], ARGV[11])
  redis.call('EXPIRE', KEYS[7], ARGV[13])
end
return warnings
