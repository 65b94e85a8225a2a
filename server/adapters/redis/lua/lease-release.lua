-- Gives a lease back; another's stays.
-- KEYS[1]  hash: the session
-- ARGV[2]  the token
-- ARGV[3]  channel that is told that the lease changed
-- ARGV[4]  channel that is told of a session with an unfinished turn
-- ARGV[5]  the session's id
-- Returns  nothing
if redis.call('HGET', KEYS[1], 'token') == ARGV[2] then
  redis.call('HDEL', KEYS[1], 'token', 'node', 'until')
  redis.call('PUBLISH', ARGV[3], '')
  if redis.call('HGET', KEYS[1], 'unfinished') == '1' then
    redis.call('PUBLISH', ARGV[4], ARGV[5])
  end
end
return false
