-- Keeps the first answer of a claimed call.
-- KEYS[1]  hash: the call under this key
-- ARGV[2]  id of the call
-- ARGV[3]  its answer
-- Returns  1 where it was kept, else 0
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[2] or redis.call('HEXISTS', KEYS[1], 'answer') == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'answer', ARGV[3])
return 1
