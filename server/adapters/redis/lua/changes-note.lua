-- Notes which sessions changed, for all nodes.
-- KEYS[1]  stream: changes of all sessions; each entry names the one before it and the history of Redis it is of
-- ARGV[2]  about how many entries are kept
-- ARGV[…]  for each new entry: its changes, as JSON
-- Returns  nothing
local before = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
before = before and before[1] or ''
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
for at = 3, #ARGV do
  before = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'b', before, 'h', history, 'c', ARGV[at])
end
return false
