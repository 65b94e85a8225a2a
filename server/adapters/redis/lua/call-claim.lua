-- Claims a key of a direct tool call; of several claims one.
-- KEYS[1]  hash: the call under this key; expires
-- ARGV[2]  id of the call
-- ARGV[3]  digest of its body
-- ARGV[4]  how long the key is taken, milliseconds
-- Returns  nothing where it was free; else { id, digest, answer or nothing } of what stands under it
local now = now_ms()
local known = redis.call('HMGET', KEYS[1], 'at', 'id', 'digest', 'answer')
if known[1] and tonumber(known[1]) + tonumber(ARGV[4]) > now then
  return { known[2], known[3], known[4] }
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'at', string.format('%.0f', now), 'id', ARGV[2], 'digest', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return false
