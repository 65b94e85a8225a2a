-- Reads a session's log from a seq on, as of one moment.
-- KEYS[1]  hash: the session
-- KEYS[2]  stream: its events, each under its seq
-- KEYS[3]  stream: its deltas, packed, under the last seq of each pack
-- ARGV[2]  the seq after which to read
-- ARGV[3]  how many events, and packs of deltas, at most
-- Returns  { head; epoch; the holder's node or empty; its token or empty; events; packs }, or nothing where there is none
local kept = redis.call('HMGET', KEYS[1], 'created', 'head', 'epoch', 'node', 'token', 'until')
if not kept[1] then
  return false
end
local is_held = kept[5] and tonumber(kept[6]) > now_ms()
local from = string.format('%.0f-0', tonumber(ARGV[2]) + 1)
local events = {}
local packs = {}
if tonumber(kept[2]) > tonumber(ARGV[2]) then
  events = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', ARGV[3])
  packs = redis.call('XRANGE', KEYS[3], from, '+', 'COUNT', ARGV[3])
end
return { tonumber(kept[2]), kept[3], is_held and kept[4] or '', is_held and kept[5] or '', events, packs }
