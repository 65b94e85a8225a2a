-- Gives a session's lease to a node, unless another one's lives.
-- KEYS[1]  hash: the session
-- ARGV[2]  the new token
-- ARGV[3]  the node
-- ARGV[4]  how long it lives, milliseconds
-- ARGV[5]  the epoch that begins where the log was written in another history of Redis
-- ARGV[6]  channel that is told that the lease changed
-- Returns  { head; epoch; 1 where there is such a session, else 0; 1 where the holder before gave it back }, or nothing
local kept = redis.call('HMGET', KEYS[1], 'token', 'node', 'until', 'history', 'epoch', 'head', 'created')
local now = now_ms()
if kept[1] and kept[2] ~= ARGV[3] and tonumber(kept[3]) > now then
  return false
end
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local epoch = kept[5]
if not epoch or kept[4] ~= history then
  epoch = ARGV[5]
end
local lapses = string.format('%.0f', now + tonumber(ARGV[4]))
redis.call('HSET', KEYS[1], 'token', ARGV[2], 'node', ARGV[3], 'until', lapses, 'history', history, 'epoch', epoch)
if not kept[7] then
  -- Nothing stays of a session that never was.
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
redis.call('PUBLISH', ARGV[6], '')
return { tonumber(kept[6] or 0), epoch, kept[7] and 1 or 0, kept[1] and 0 or 1 }
