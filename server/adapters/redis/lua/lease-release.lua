-- Gives a lease back; another's stays.
-- KEYS[1]  hash: the session
-- ARGV[2]  the token
-- Returns  nothing
if redis.call('HGET', KEYS[1], 'token') == ARGV[2] then
  redis.call('HDEL', KEYS[1], 'token', 'node', 'until')
end
return false
