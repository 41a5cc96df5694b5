package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const aheadOfTime = 12_000 // records a second that are made before a run without a rate

type plan struct {
	address     string
	connections int
	rate        float64
	length      time.Duration
	seed        uint64
	home        string
}

type answer struct {
	code string
	due  time.Time
	at   time.Time
	said string // the dialect's code, or the HTTP status where there is none
}

// run sends records and gives the answers, in the order of the records.
func (p plan) run(shops []Shop) []answer {
	total := int(p.rate * p.length.Seconds())
	if p.rate == 0 {
		total = int(aheadOfTime * p.length.Seconds())
	}
	maker := newMaker(shops, p.seed, p.home)
	records := make([]record, total)
	for i := range records {
		records[i] = maker.record(i, true)
		records[i].body = p.request(records[i].body)
	}
	answers := make([]answer, total)
	var next atomic.Int64
	var done sync.WaitGroup
	begin := time.Now().Add(50 * time.Millisecond)
	for c := 0; c < p.connections; c++ {
		done.Add(1)
		go func() {
			defer done.Done()
			line := connect(p.address)
			defer line.close()
			for {
				i := int(next.Add(1)) - 1
				if i >= total {
					return
				}
				due := time.Now()
				if p.rate > 0 {
					due = begin.Add(time.Duration(float64(i) / p.rate * float64(time.Second)))
					time.Sleep(time.Until(due))
				} else if due.Sub(begin) > p.length {
					return
				}
				said := line.send(records[i].body)
				answers[i] = answer{records[i].code, due, time.Now(), said}
			}
		}()
	}
	done.Wait()
	kept := answers[:0]
	for _, one := range answers {
		if one.said != "" {
			kept = append(kept, one)
		}
	}
	return kept
}

func (p plan) request(body []byte) []byte {
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json;charset=UTF-8\r\n"+
		"Content-Length: %d\r\n\r\n", add, p.address, len(body))
	return append([]byte(head), body...)
}

// line is one kept connection; it is opened again when the door closes it.
type line struct {
	address string
	to      net.Conn
	from    *bufio.Reader
}

func connect(address string) *line {
	one := &line{address: address}
	one.open()
	return one
}

func (l *line) open() {
	to, err := net.Dial("tcp", l.address)
	check(err)
	l.to, l.from = to, bufio.NewReader(to)
}

func (l *line) close() { l.to.Close() }

// send sends one request and gives what was said to it.
func (l *line) send(request []byte) string {
	if _, err := l.to.Write(request); err != nil {
		return l.again()
	}
	status, length, kept := "", 0, true
	for {
		text, err := l.from.ReadSlice('\n')
		if err != nil {
			return l.again()
		}
		text = bytes.TrimRight(text, "\r\n")
		if len(text) == 0 {
			break
		}
		if status == "" {
			status = string(text[9:12])
			continue
		}
		name, value, _ := bytes.Cut(text, []byte(":"))
		switch strings.ToLower(string(name)) {
		case "content-length":
			length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		case "connection":
			kept = !bytes.EqualFold(bytes.TrimSpace(value), []byte("close"))
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(l.from, body); err != nil {
		return l.again()
	}
	if !kept {
		l.again()
	}
	if status != "200" {
		return status
	}
	var said struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(body, &said) != nil {
		return "unreadable"
	}
	return said.Code
}

func (l *line) again() string {
	l.to.Close()
	l.open()
	return "cut"
}

// summary prints what became of a run as one line of JSON: counts, records a second, milliseconds.
func summary(answers []answer, p plan) {
	if len(answers) == 0 {
		log.Fatal("no record was answered")
	}
	said := map[string]int{}
	var took []float64
	first, last := answers[0].due, answers[0].at
	for _, one := range answers {
		said[one.said]++
		if one.said == "1" {
			took = append(took, one.at.Sub(one.due).Seconds()*1000)
		}
		if one.at.After(last) {
			last = one.at
		}
	}
	sort.Float64s(took)
	found := map[string]any{
		"offered": p.rate, "answers": said, "accepted": len(took),
		"seconds": last.Sub(first).Seconds(), "accepted_per_second": float64(len(took)) / last.Sub(first).Seconds(),
	}
	for _, share := range []float64{0.5, 0.99, 0.999} {
		if len(took) > 0 {
			found[fmt.Sprintf("p%g", share*100)] = took[min(int(share*float64(len(took))), len(took)-1)]
		}
	}
	check(json.NewEncoder(os.Stdout).Encode(found))
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func host(door string) string { return strings.TrimPrefix(door, "http://") }
