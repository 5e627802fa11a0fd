# Lists the tests in a stream of `go test -json` events that were begun and not ended: where a
# run hung that had to be killed.

/^\{.*"Action":"(run|pass|fail|skip)","Package":"[^"]*","Test":/ && !/"Output":/ {
  test = $0
  sub(/.*"Package":"/, "", test)
  sub(/"(,"Elapsed":[0-9.e-]*)?\}$/, "", test)
  sub(/","Test":"/, " ", test)
  if ($0 ~ /"Action":"run"/) running[test] = 1; else delete running[test]
}

END { for (test in running) print "had not ended: " test }
