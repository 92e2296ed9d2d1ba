-- Sends the requests of a file in turn. Each is two texts, of which the first is preceded by its
-- length; between two texts that are not empty comes a number that no other request has.

local before, after, count, number = {}, {}, 0, 0

local function part(file)
  local length = file:read("*n")
  if not length then return nil end
  file:read(1)
  return length > 0 and file:read(length) or ""
end

function init(arguments)
  local file = io.open(arguments[1], "rb")
  for first in function() return part(file) end do
    count = count + 1
    before[count], after[count] = first, part(file)
  end
  file:close()
  math.randomseed(os.time())
  number = math.random(0, 99999999)
end

function request()
  number = number + 1
  local each = number % count + 1
  if after[each] == "" then return before[each] end
  return before[each] .. string.format("%08d", number % 100000000) .. after[each]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"answers": %d, "seconds": %.6f, "mean": %.4f, "p50": %.4f, "p99": %.4f, "errors": '
      .. '{"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
    summary.requests, summary.duration / 1e6, latency.mean / 1e3,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
