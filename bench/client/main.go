// Command client is the load client of `vingate bench realtime`: shop software that registers companies at a door,
// asks for their tokens and sends repair records by the national interface, over kept connections.
//
//	client setup   -door http://127.0.0.1:8080 -companies 80 -shops shops.json
//	client load    -door http://127.0.0.1:8080 -shops shops.json -seconds 10 -connections 64 [-rate 500] [-log sent.csv]
//	client records -shops shops.json -count 10000                  writes records to stdout, one a line, without tokens
//
// Without a rate each connection sends its next record as soon as the last one is answered. With one, records are due at
// fixed moments whatever the answers do, and a record's time counts from the moment that it was due.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: client setup|load|records [flags]")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	door := flags.String("door", "", "address of the door, http://HOST:PORT")
	shopsFile := flags.String("shops", "shops.json", "file of the companies and their tokens")
	companies := flags.Int("companies", 80, "setup: companies to register")
	seconds := flags.Float64("seconds", 10, "load: how long")
	connections := flags.Int("connections", 64, "load: kept connections")
	rate := flags.Float64("rate", 0, "load: records a second that are due; 0: as fast as answers come")
	logFile := flags.String("log", "", "load: file for one line a record: list code, moment due and moment answered (ns), code")
	count := flags.Int("count", 1000, "records: how many")
	seed := flags.Uint64("seed", 1, "load, records: list codes and vehicles differ between seeds")
	home := flags.String("home", "川", "load, records: the province's character on the plates")
	_ = flags.Parse(os.Args[2:])

	switch os.Args[1] {
	case "setup":
		write(*shopsFile, setUp(*door, *companies))
	case "load":
		work := plan{address: host(*door), connections: *connections, rate: *rate, seed: *seed, home: *home,
			length: time.Duration(*seconds * float64(time.Second))}
		answered := work.run(read(*shopsFile))
		if *logFile != "" {
			writeLog(*logFile, answered)
		}
		summary(answered, work)
	case "records":
		out := bufio.NewWriter(os.Stdout)
		maker := newMaker(read(*shopsFile), *seed, *home)
		for i := 0; i < *count; i++ {
			out.Write(maker.record(i, false).body)
			out.WriteByte('\n')
		}
		check(out.Flush())
	default:
		log.Fatalf("no such work: %s", os.Args[1])
	}
}

func write(path string, shops []Shop) {
	text, err := json.Marshal(shops)
	check(err)
	check(os.WriteFile(path, text, 0o600))
}

func read(path string) []Shop {
	text, err := os.ReadFile(path)
	check(err)
	var shops []Shop
	check(json.Unmarshal(text, &shops))
	return shops
}

func writeLog(path string, answered []answer) {
	file, err := os.Create(path)
	check(err)
	out := bufio.NewWriter(file)
	for _, one := range answered {
		fmt.Fprintf(out, "%s,%d,%d,%s\n", one.code, one.due.UnixNano(), one.at.UnixNano(), one.said)
	}
	check(out.Flush())
	check(file.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
