-- Removes a session with all that its tag has.
-- KEYS[1]  hash: the session
-- KEYS[2…] events, deltas, answers and their times
-- ARGV[2]  empty, or: only where it is idle and was not updated since, milliseconds since 1970
-- ARGV[3]  the node that asks: a session that another one holds is not idle
-- Returns  { 'removed' or 'kept'; user; org; when updated; members as JSON or empty }, or nothing where there is none
local kept = redis.call('HMGET', KEYS[1], 'user', 'org', 'updated', 'status', 'unfinished', 'token', 'node', 'until',
  'members')
if ARGV[2] ~= '' and kept[3] then
  local is_held = kept[6] and kept[7] ~= ARGV[3] and tonumber(kept[8]) > now_ms()
  if kept[4] ~= 'idle' or kept[5] == '1' or is_held or tonumber(kept[3]) >= tonumber(ARGV[2]) then
    return { 'kept', kept[1], kept[2], kept[3] }
  end
end
redis.call('UNLINK', unpack(KEYS))
return kept[3] and { 'removed', kept[1], kept[2], kept[3], kept[9] or '' }
