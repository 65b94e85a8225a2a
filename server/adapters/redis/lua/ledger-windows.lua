-- What the windows of a payer say now.
-- KEYS[1]  hash: windows of the user
-- KEYS[2]  hash: windows of the organisation
-- Returns  { now, the four windows } as text
local now = now_ms()
local found = { to_text(now) }
for _, window in ipairs(windows_at(now, KEYS[1], KEYS[2])) do
  found[#found + 1] = pack_window(window.numbers)
end
return found
