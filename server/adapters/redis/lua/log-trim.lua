-- Removes packs of deltas that are completed.
-- KEYS[1]  hash: the session
-- KEYS[2]  stream: its deltas, packed, under the last seq of each pack
-- ARGV[2]  the lease's token, which may have been given back: another holder may know of other deltas
-- ARGV[3]  the first seq that is kept
-- Returns  nothing
local holder = redis.call('HGET', KEYS[1], 'token')
if holder and holder ~= ARGV[2] then
  return false
end
redis.call('XTRIM', KEYS[2], 'MINID', ARGV[3] .. '-0')
if redis.call('XLEN', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[2])
end
return false
