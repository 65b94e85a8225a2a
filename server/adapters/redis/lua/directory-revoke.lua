-- Revokes what was issued until now, and puts the change behind all others. The time never goes back.
-- KEYS[1]  hash: revocations
-- KEYS[2]  stream: the last changes
-- KEYS[3]  counter: the version of the last change
-- ARGV[2]  field of the revocation, which is [kind, org, id] as JSON
-- ARGV[3]  how many changes are kept, about
-- Returns  the time until which credentials are dead, milliseconds since 1970, as text
local before = tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or 0)
local at = string.format('%.0f', math.max(before, now_ms()))
local version = redis.call('INCR', KEYS[3])
redis.call('HSET', KEYS[1], ARGV[2], at)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], version .. '-1', 'revoked', ARGV[2], 'at', at)
return at
