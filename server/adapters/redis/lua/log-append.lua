-- Appends to a session's log: records, answers and row, all or nothing.
-- KEYS[1]  hash: the session
-- KEYS[2]  stream: its events, each under its seq
-- KEYS[3]  stream: its deltas, packed, under the last seq of each pack
-- KEYS[4]  hash: its answers
-- KEYS[5]  sorted set: fields of answers by when the command was accepted, milliseconds since 1970
-- ARGV[2]  the lease's token
-- ARGV[3]  the head that is expected
-- ARGV[4]  the head afterwards
-- ARGV[5]  the last delta's seq; empty where there is none
-- ARGV[6]  the deltas, packed
-- ARGV[7]  how long an answer counts, milliseconds
-- ARGV[8]  channel that is told the head
-- ARGV[9]  how many events; after it for each: seq, type, turn, JSON
-- ARGV[…]  how many answers; after it for each: field, when accepted, JSON
-- ARGV[…]  where the row changes: status, 1 where unfinished, when updated, JSON, members as JSON or empty
-- Returns  'ok', also where this very call was done before, or what is in the way: 'lease_lost', 'missing', 'head',
--          'history' (this Redis began a new one after the lease had lapsed)
local kept = redis.call('HMGET', KEYS[1], 'token', 'created', 'history', 'head', 'until')
if kept[1] ~= ARGV[2] then
  return 'lease_lost'
end
if not kept[2] then
  return 'missing'
end
local is_done = kept[4] == ARGV[4] and ARGV[3] ~= ARGV[4]
if kept[4] ~= ARGV[3] and not is_done then
  return 'head'
end
-- Only the holder writes, so a log that ends where its holder says has all that it wrote: in whatever history.
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
if kept[3] ~= history and tonumber(kept[5]) <= now_ms() then
  return 'history'
end

-- The first write is one that full memory refuses, so that it refuses all.
redis.call('HSET', KEYS[1], 'head', ARGV[4], 'history', history)
if is_done then
  return 'ok'
end
if ARGV[3] ~= ARGV[4] then
  redis.call('PUBLISH', ARGV[8], ARGV[4])
end
if ARGV[5] ~= '' then
  redis.call('XADD', KEYS[3], ARGV[5] .. '-0', 'p', ARGV[6])
end
if #ARGV == 9 then
  return 'ok'
end
local at = 10
local events = tonumber(ARGV[9])
local now = now_ms()
local written = string.format('%.0f', now)
for _ = 1, events do
  redis.call('XADD', KEYS[2], ARGV[at] .. '-0', 't', ARGV[at + 1], 'u', ARGV[at + 2], 'a', written, 'j', ARGV[at + 3])
  at = at + 4
end
local answers = tonumber(ARGV[at])
at = at + 1
if answers > 0 then
  local life = tonumber(ARGV[7])
  for _ = 1, answers do
    local known = redis.call('ZSCORE', KEYS[5], ARGV[at])
    if not known or tonumber(known) <= now - life then
      redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 2])
      redis.call('ZADD', KEYS[5], ARGV[at + 1], ARGV[at])
    end
    at = at + 3
  end
  local old = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', now - life), 'LIMIT', 0, 100)
  for _, field in ipairs(old) do
    redis.call('HDEL', KEYS[4], field)
    redis.call('ZREM', KEYS[5], field)
  end
  redis.call('PEXPIRE', KEYS[4], life)
  redis.call('PEXPIRE', KEYS[5], life)
end
if ARGV[at] then
  redis.call('HSET', KEYS[1], 'status', ARGV[at], 'unfinished', ARGV[at + 1], 'updated', ARGV[at + 2], 'json', ARGV[at + 3])
  if ARGV[at + 4] ~= '' then
    redis.call('HSET', KEYS[1], 'members', ARGV[at + 4])
  end
end
return 'ok'
