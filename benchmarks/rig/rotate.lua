-- Sends the bodies of a folder in turn and writes its counts as one JSON line.
--   wrk ... -s rotate.lua URL -- FOLDER BODIES
-- FOLDER/headers has a "Name: value" line per header, FOLDER/1.body to FOLDER/BODIES.body the rest.

local requests = {}
local turn = 0

local function read(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

function init(args)
  local folder, count = args[1], tonumber(args[2])
  local headers = {}
  for name, value in read(folder .. "/headers"):gmatch("([^:\n]+): ([^\n]+)\n") do
    headers[name] = value
  end
  for index = 1, count do
    local body = read(folder .. "/" .. index .. ".body")
    requests[index] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, ' ..
    '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
