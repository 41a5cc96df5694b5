package main

import (
	"fmt"
	"math/rand"
	"strings"
)

// Shop is a company at the door.
type Shop struct {
	Company string `json:"company"`
	Name    string `json:"name"`
	Token   string `json:"token"`
}

type record struct {
	code string
	body []byte
}

type maker struct {
	shops []Shop
	seed  uint64
	home  string
	from  *rand.Rand
}

var (
	wmis     = []string{"LSV", "LFV", "LVS", "LGB", "LHG", "LSG", "LBV", "LGX", "LVV", "LZW"}
	parts    = []string{"机油滤清器", "机油", "前刹车片", "蓄电池", "三元催化器", "火花塞", "空气滤清器", "轮胎", "雨刮片"}
	projects = []string{"更换机油机滤", "四轮定位", "更换刹车片", "发动机检修", "更换蓄电池", "钣金喷漆"}
)

const (
	vinAlpha = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
)

var vinValue = map[byte]int{
	'A': 1, 'B': 2, 'C': 3, 'D': 4, 'E': 5, 'F': 6, 'G': 7, 'H': 8, 'J': 1, 'K': 2, 'L': 3, 'M': 4, 'N': 5, 'P': 7,
	'R': 9, 'S': 2, 'T': 3, 'U': 4, 'V': 5, 'W': 6, 'X': 7, 'Y': 8, 'Z': 9,
}
var vinWeight = [17]int{8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2}

func newMaker(shops []Shop, seed uint64, home string) *maker {
	return &maker{shops: shops, seed: seed, home: home, from: rand.New(rand.NewSource(int64(seed)))}
}

// vin gives a vehicle's number with its right check digit (GB 16735).
func (m *maker) vin(number uint64) string {
	text := []byte(wmis[m.from.Intn(len(wmis))])
	for i := 0; i < 5; i++ {
		text = append(text, vinAlpha[m.from.Intn(len(vinAlpha))])
	}
	text = append(text, '0', "HJKLMNPRST"[m.from.Intn(10)], "ABCDEF"[m.from.Intn(6)])
	text = append(text, fmt.Sprintf("%06d", number%1_000_000)...)
	sum := 0
	for i, c := range text {
		value, letter := vinValue[c]
		if !letter {
			value = int(c - '0')
		}
		sum += value * vinWeight[i]
	}
	text[8] = "0123456789X"[sum%11]
	return string(text)
}

// record gives the record of a number: a valid one, of a vehicle of its own, of the shops in turn.
func (m *maker) record(number int, withToken bool) record {
	shop := m.shops[number%len(m.shops)]
	code := fmt.Sprintf("JS%02d%09d", m.seed, number)
	day := fmt.Sprintf("2026%02d%02d", 1+m.from.Intn(10), 1+m.from.Intn(28))
	plate := fmt.Sprintf("%s%c%05d", m.home, "ABCDEFGH"[number%8], (number/8)%100_000)
	var text strings.Builder
	text.WriteByte('{')
	if withToken {
		fmt.Fprintf(&text, `"access_token":"%s",`, shop.Token)
	}
	fmt.Fprintf(&text, `"basicInfo":{"companycode":"%s","companyname":"%s","vehicleplatenumber":"%s","vin":"%s",`+
		`"repairdate":"%s","repairmileage":"%d","settledate":"%s","faultdescription":"保养及异响检查","costlistcode":"%s"},`,
		shop.Company, shop.Name, plate, m.vin(uint64(number)), day, 1000+m.from.Intn(290_000), day, code)
	text.WriteString(`"vehiclepartslist":[`)
	for i := 0; i < 3; i++ {
		comma(&text, i)
		fmt.Fprintf(&text, `{"partsname":"%s","partsquantity":"%d","partscode":"P%06d"}`,
			parts[m.from.Intn(len(parts))], 1+m.from.Intn(6), m.from.Intn(1_000_000))
	}
	text.WriteString(`],"repairprojectlist":[`)
	for i := 0; i < 2; i++ {
		comma(&text, i)
		fmt.Fprintf(&text, `{"repairproject":"%s","workinghours":"%d.%d"}`,
			projects[m.from.Intn(len(projects))], m.from.Intn(4), 1+m.from.Intn(9))
	}
	text.WriteString(`]}`)
	return record{code, []byte(text.String())}
}

func comma(text *strings.Builder, i int) {
	if i > 0 {
		text.WriteByte(',')
	}
}
