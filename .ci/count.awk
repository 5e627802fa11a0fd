# Counts the tests in a stream of `go test -json` events: prints "passed failed skipped".
# A test with subtests counts as its subtests; it counts itself only when it failed and none of
# them did. A package that failed although none of its tests did (it does not compile, it was
# killed, it ran out of time) counts as one failure.

function field(name,    value) {
  if (!match($0, "\"" name "\":\"([^\"\\\\]|\\\\.)*")) return ""
  value = substr($0, RSTART, RLENGTH)
  sub(/^"[A-Za-z]*":"/, "", value)
  return value
}

# The event's own fields stand before "Output"; what a test printed never reaches this line.
/"Action":"(pass|fail|skip)","Package":/ && !/"Output":/ {
  action = field("Action"); package = field("Package"); test = field("Test")
  if (test == "") { packages[package] = action; next }
  tests[package " " test] = action
  while (sub(/\/[^\/]*$/, "", test)) parent[package " " test] = 1
}

END {
  for (id in tests) {
    if (tests[id] != "fail") continue
    split(id, part, " ")
    broken[part[1]] = 1
    name = id
    while (sub(/\/[^\/]*$/, "", name) && index(name, " ")) explained[name] = 1
  }
  for (id in tests) {
    if (tests[id] == "fail") { if (!(id in explained)) failed++ }
    else if (id in parent) continue
    else if (tests[id] == "pass") passed++
    else skipped++
  }
  for (package in packages) if (packages[package] == "fail" && !(package in broken)) failed++
  printf "%d %d %d\n", passed, failed, skipped
}
