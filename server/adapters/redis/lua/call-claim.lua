-- Claims a key; of several claims one. A claim that is sent again is the same claim.
-- KEYS[1]  hash: the call under this key; expires
-- ARGV[2]  id of the call
-- ARGV[3]  digest of its body
-- ARGV[4]  how long the key is taken, milliseconds
-- ARGV[5]  id of a claim whose answer its maker never got; empty: none. It gives way
-- Returns  nothing where it was free; else { id, digest, answer or nothing, its age in milliseconds } of what stands
--          under it
local now = now_ms()
local known = redis.call('HMGET', KEYS[1], 'at', 'id', 'digest', 'answer')
local is_own = known[2] and not known[4] and (known[2] == ARGV[2] or known[2] == ARGV[5])
if known[1] and not is_own and tonumber(known[1]) + tonumber(ARGV[4]) > now then
  return { known[2], known[3], known[4], now - tonumber(known[1]) }
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'at', string.format('%.0f', now), 'id', ARGV[2], 'digest', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return false
