-- Renews the lease of a hold and notes what is known to be used. A hold that Redis has lost is held again; one that
-- was settled is left alone.
-- KEYS[1]  hash: windows of the user
-- KEYS[2]  hash: windows of the organisation
-- KEYS[3]  hash: the hold
-- KEYS[4]  sorted set: holds of the organisation by when they lapse, milliseconds since 1970
-- KEYS[5]  string: that this hold was settled
-- ARGV[2]  id of the hold
-- ARGV[3]  when it was held, milliseconds since 1970
-- ARGV[4]  tokens held
-- ARGV[5]  nano-dollars held
-- ARGV[6]  how long it lives from now, milliseconds
-- ARGV[7]  the hold, as JSON
-- ARGV[8]  what is known to be used, as JSON; empty: what was known stays
-- Returns  1 where it is held, else 0
-- All checks come before the first write. All keys are of one organisation, so of one slot.
if redis.call('EXISTS', KEYS[3]) == 0 then
  if redis.call('EXISTS', KEYS[5]) == 1 then
    return 0
  end
  local at = tonumber(ARGV[3])
  local windows = windows_at(at, KEYS[1], KEYS[2])
  add_to(windows, HELD, tonumber(ARGV[4]), tonumber(ARGV[5]))
  put_windows(windows, at)
  redis.call('HSET', KEYS[3], 'at', ARGV[3], 'tokens', ARGV[4], 'nano', ARGV[5])
end
local lapses = to_text(now_ms() + tonumber(ARGV[6]))
redis.call('HSET', KEYS[3], 'lapses', lapses, 'hold', ARGV[7])
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[3], 'known', ARGV[8])
end
redis.call('ZADD', KEYS[4], lapses, ARGV[2])
return 1
