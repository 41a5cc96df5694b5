package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"strings"
)

const (
	base     = "/restservices/lcipprodatarest/"
	register = base + "lcipproaccountcompany/query"
	token    = base + "lcipprogetaccesstoken/query"
	add      = base + "lcipprocarfixrecordadd/query"
	password = "Bench-Passw0rd"
)

// setUp registers companies at a door that takes them at once, and asks for their tokens.
func setUp(door string, companies int) []Shop {
	var shops []Shop
	for i := 0; i < companies; i++ {
		name := fmt.Sprintf("基准汽车维修有限公司%d", i)
		said := call(door+register, map[string]string{
			"companyname": name, "companypassword": password,
			"companyroadtransportationlicense":     fmt.Sprintf("4401060%05d", i),
			"companyunifiedsocialcreditidentifier": credit(i),
			"companyaddress":                       "广州市天河区某某路1号",
			"companypostalcode":                    "510000",
			"companyeconomiccategory":              "150",
			"companycategory":                      "03",
			"companylinkmanname":                   "李某",
			"companylinkmantel":                    "13800000000",
			"companysuperintendentname":            "李某",
			"companysuperintendenttel":             "13800000000",
			"companybusinessscope":                 "三类机动车维修",
			"roadtransportationlicensestartdate":   "20180101",
			"roadtransportationlicenseenddate":     "20991231",
			"companyoperationstate":                "1",
			"companyadministrativedivisioncode":    "440106",
			"companyemail":                         "bench@example.com",
		})
		company := said["companycode"]
		given := call(door+token, map[string]string{"companycode": company, "companypassword": password})
		shops = append(shops, Shop{company, name, given["access_token"]})
	}
	return shops
}

func call(url string, members map[string]string) map[string]string {
	body, err := json.Marshal(members)
	check(err)
	answer, err := http.Post(url, "application/json;charset=UTF-8", bytes.NewReader(body))
	check(err)
	defer answer.Body.Close()
	said := map[string]string{}
	check(json.NewDecoder(answer.Body).Decode(&said))
	if said["code"] != "1" {
		log.Fatalf("refused: %s", said["status"])
	}
	return said
}

// credit gives a unified social credit code (GB 32100) with the right check characters.
func credit(number int) string {
	organisation := fmt.Sprintf("MA5%05d", number)
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	sum := 0
	for i, weight := range []int{3, 7, 9, 10, 5, 8, 4, 2} {
		sum += strings.IndexByte(letters, organisation[i]) * weight
	}
	code := "91440106" + organisation + string("0123456789X0"[(11-sum%11)%11])
	const alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
	sum, weight := 0, 1
	for i := range code {
		sum += strings.IndexByte(alphabet, code[i]) * weight
		weight = weight * 3 % 31
	}
	return code + string(alphabet[(31-sum%31)%31])
}
