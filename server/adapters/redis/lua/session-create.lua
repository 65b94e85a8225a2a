-- Makes a session.
-- KEYS[1]  hash: the session
-- ARGV[2]  the epoch of its log
-- ARGV[3…] user, org, status, 1 where unfinished, when created and when updated (milliseconds since 1970), JSON
-- Returns  1, or 0 where the id is taken
if redis.call('HEXISTS', KEYS[1], 'created') == 1 then
  return 0
end
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
redis.call('HSET', KEYS[1], 'user', ARGV[3], 'org', ARGV[4], 'status', ARGV[5], 'unfinished', ARGV[6],
  'created', ARGV[7], 'updated', ARGV[8], 'json', ARGV[9], 'head', '0', 'epoch', ARGV[2], 'history', history)
redis.call('PERSIST', KEYS[1])
return 1
