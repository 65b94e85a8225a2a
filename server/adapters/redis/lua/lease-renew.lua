-- Holds a lease on.
-- KEYS[1]  hash: the session
-- ARGV[2]  the token
-- ARGV[3]  how long it lives, milliseconds
-- Returns  1, or 0 where it is another's now
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now_ms() + tonumber(ARGV[3])))
return 1
