-- The load of one measurement, for wrk:  wrk … -s load.lua URL -- [pipeline=N] [paths=FILE] [stop=N] [delay=MS] [NAME:VALUE …]
--
--   pipeline=N   N requests in one write
--   paths=FILE   one path a line, asked for in order, from the top again at the end
--   stop=N       end the run after N requests (so that no path is asked for twice)
--   delay=MS     a pause before each request (a random time with this mean), so that the server is not full
--   NAME:VALUE   a header field
--
-- At the end one line of JSON: counts, bytes, errors, latency percentiles in µs.

local paths, count, last = nil, 0, nil

local function read_paths(file)
  local list = {}
  for line in io.lines(file) do list[#list + 1] = wrk.format("GET", line) end
  return list
end

function init(args)
  local options = {}
  for _, arg in ipairs(args) do
    local key, value = arg:match("^(%l+)=(.*)$")
    if key then
      options[key] = value
    else
      local name, field = arg:match("^([%w-]+):(.*)$")
      wrk.headers[name] = field
    end
  end
  if options.delay then
    local pause = tonumber(options.delay)
    delay = function() return math.random(0, 2 * pause) end
  end
  if options.pipeline then
    local one = wrk.format("GET", wrk.path)
    local all = one:rep(tonumber(options.pipeline))
    request = function() return all end
  elseif options.paths then
    paths = read_paths(options.paths)
    last = options.stop and tonumber(options.stop)
    request = function()
      count = count + 1
      if count == last then wrk.thread:stop() end
      return paths[(count - 1) % #paths + 1]
    end
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"bytes":%d,"duration_us":%d,"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d},' ..
    '"latency_us":{"mean":%.1f,"p50":%d,"p90":%d,"p99":%d,"p999":%d,"max":%d}}\n',
    summary.requests, summary.bytes, summary.duration, e.connect, e.read, e.write, e.status, e.timeout,
    latency.mean, latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9), latency.max))
end
