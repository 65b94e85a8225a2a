-- Puts records behind all others of a stream, in their order.
-- KEYS[1]  stream: the audit of an organisation, or of none
-- ARGV[2…] records, as JSON
-- Returns  nothing
-- An id is the microsecond of the call, so that records of several streams have one order; never below the last one.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local last_ms, last_seq = 0, 0
if last then
  last_ms, last_seq = string.match(last[1], '^(%d+)-(%d+)$')
  last_ms, last_seq = tonumber(last_ms), tonumber(last_seq)
end
local now = now_us()
local ms, seq = math.floor(now / 1000), now % 1000
for n = 2, #ARGV do
  if ms < last_ms or (ms == last_ms and seq <= last_seq) then
    ms, seq = last_ms, last_seq + 1
  end
  redis.call('XADD', KEYS[1], string.format('%.0f-%.0f', ms, seq), 'record', ARGV[n])
  last_ms, last_seq = ms, seq
end
return false
