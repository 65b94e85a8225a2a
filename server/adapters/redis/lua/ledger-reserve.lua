-- Holds amounts in all windows of a payer, where they fit all limits: used + held + asked <= limit.
-- KEYS[1]  hash: windows of the user
-- KEYS[2]  hash: windows of the organisation
-- KEYS[3]  hash: the hold
-- KEYS[4]  sorted set: holds of the organisation by when they lapse, milliseconds since 1970
-- ARGV[2]  id of the hold; asking again under it changes nothing
-- ARGV[3]  tokens asked for
-- ARGV[4]  nano-dollars asked for
-- ARGV[5]  how long it lives, milliseconds
-- ARGV[6]  the hold, as JSON
-- ARGV[7…] limits, three each: the window (1 to 4), the unit (1 tokens, 2 nano-dollars), the bound
-- Returns  { 1; when it was held } or { 0; now; the four windows }, times as text
-- All checks come before the first write. All keys are of one organisation, so of one slot.
local held_at = redis.call('HGET', KEYS[3], 'at')
if held_at then
  return { 1, held_at }
end
local now = now_ms()
local windows = windows_at(now, KEYS[1], KEYS[2])
local asked = { tonumber(ARGV[3]), tonumber(ARGV[4]) }
for n = 7, #ARGV, 3 do
  local numbers = windows[tonumber(ARGV[n])].numbers
  local unit = tonumber(ARGV[n + 1])
  if asked[unit] ~= 0 and numbers[USED + unit] + numbers[HELD + unit] + asked[unit] > tonumber(ARGV[n + 2]) then
    local refused = { 0, to_text(now) }
    for _, window in ipairs(windows) do
      refused[#refused + 1] = pack_window(window.numbers)
    end
    return refused
  end
end
local lapses = to_text(now + tonumber(ARGV[5]))
add_to(windows, HELD, asked[1], asked[2])
put_windows(windows, now)
redis.call('HSET', KEYS[3], 'at', to_text(now), 'lapses', lapses, 'tokens', ARGV[3], 'nano', ARGV[4], 'hold', ARGV[6])
redis.call('ZADD', KEYS[4], lapses, ARGV[2])
return { 1, to_text(now) }
