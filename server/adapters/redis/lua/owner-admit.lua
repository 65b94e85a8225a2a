-- Lists a session that is about to be made, and keeps the answer to the command that makes it.
-- KEYS[1]  sorted set: the owner's sessions by when they were created, milliseconds since 1970
-- KEYS[2]  hash: answers of the owner
-- KEYS[3]  sorted set: their fields by when the command was accepted, milliseconds since 1970
-- ARGV[2]  the session's id
-- ARGV[3]  when it was created
-- ARGV[4]  how long an answer counts, milliseconds
-- ARGV[5]  the answer's field; nothing follows where there is no answer
-- ARGV[6]  when the command was accepted
-- ARGV[7]  the answer, as JSON
-- ARGV[8]  an answer that may be replaced, or empty
-- Returns  { 'new' or 'listed' }, or { 'answered'; the answer that counts; the time, milliseconds since 1970 }
local now = now_ms()
if ARGV[5] then
  local accepted = redis.call('ZSCORE', KEYS[3], ARGV[5])
  local known = redis.call('HGET', KEYS[2], ARGV[5])
  if accepted and known and known ~= ARGV[8] and tonumber(accepted) > now - tonumber(ARGV[4]) then
    return { 'answered', known, string.format('%.0f', now) }
  end
end
local added = redis.call('ZADD', KEYS[1], 'NX', ARGV[3], ARGV[2])
if ARGV[5] then
  redis.call('HSET', KEYS[2], ARGV[5], ARGV[7])
  redis.call('ZADD', KEYS[3], ARGV[6], ARGV[5])
  local old = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now - tonumber(ARGV[4])), 'LIMIT', 0, 100)
  for _, field in ipairs(old) do
    if field ~= ARGV[5] then
      redis.call('HDEL', KEYS[2], field)
      redis.call('ZREM', KEYS[3], field)
    end
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
end
return { added == 1 and 'new' or 'listed' }
