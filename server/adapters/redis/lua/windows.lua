-- The budget windows of a moment. A window is a field of its owner's hash, named by its day or month (UTC), and keeps
-- six numbers: used tokens and nano-dollars, held tokens and nano-dollars, percent told of tokens and of dollars.
local DAY_MS = 86400000
-- How long a window is kept after its end, and its owner after the last change.
local KEPT_MS = 7 * DAY_MS
local OWNER_SECONDS = 40 * 86400

local USED, HELD, TOLD = 0, 2, 4

-- `2026-01-31`; of a proleptic Gregorian calendar whose years begin in March, so that leap days come last.
local function day_of(at)
  local days = math.floor(at / DAY_MS) + 719468
  local era = math.floor(days / 146097)
  local of_era = days - era * 146097
  local year = math.floor(
    (of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365
  )
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * of_year + 2) / 153)
  local day = of_year - math.floor((153 * month + 2) / 5) + 1
  year = year + era * 400
  month = month + 3
  if month > 12 then
    month = month - 12
    year = year + 1
  end
  return string.format('%04d-%02d-%02d', year, month, day)
end

local function unpack_window(text)
  local numbers = {}
  for number in string.gmatch(text or '0 0 0 0 0 0', '%S+') do
    numbers[#numbers + 1] = tonumber(number)
  end
  return numbers
end

local function pack_window(numbers)
  return string.format('%.0f %.0f %.0f %.0f %.0f %.0f', unpack(numbers))
end

-- Of the user (day, month), then of the organisation (day, month).
local function windows_at(at, user_key, org_key)
  local day = day_of(at)
  local fields = { day, string.sub(day, 1, 7) }
  local windows = {}
  for _, key in ipairs({ user_key, org_key }) do
    local found = redis.call('HMGET', key, fields[1], fields[2])
    for n, field in ipairs(fields) do
      windows[#windows + 1] = { key = key, field = field, is_new = not found[n], numbers = unpack_window(found[n]) }
    end
  end
  return windows
end

-- Ended windows that nothing is held in.
local function forget_windows(key, at)
  local kept_from = day_of(at - KEPT_MS)
  local all = redis.call('HGETALL', key)
  for n = 1, #all, 2 do
    local numbers = unpack_window(all[n + 1])
    local is_over = all[n] < string.sub(kept_from, 1, #all[n])
    if is_over and numbers[HELD + 1] == 0 and numbers[HELD + 2] == 0 then
      redis.call('HDEL', key, all[n])
    end
  end
end

local function put_windows(windows, at)
  for _, window in ipairs(windows) do
    if window.is_new then
      forget_windows(window.key, at)
    end
    redis.call('HSET', window.key, window.field, pack_window(window.numbers))
    redis.call('EXPIRE', window.key, OWNER_SECONDS)
  end
end

-- What is added to the used or held numbers of each.
local function add_to(windows, place, tokens, nano_usd)
  for _, window in ipairs(windows) do
    window.numbers[place + 1] = window.numbers[place + 1] + tokens
    window.numbers[place + 2] = window.numbers[place + 2] + nano_usd
  end
end

local function to_text(number)
  return string.format('%.0f', number)
end
