// weather: asks places where a city is, and tells from that how warm it gets. Go, standard library.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

type place struct {
	City      string  `json:"city"`
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
}

var client = &http.Client{Timeout: 5 * time.Second}

func answer(w http.ResponseWriter, status int, value map[string]any) {
	w.Header().Set("content-type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value)
}

// find asks places; the status is what the caller should hear if there is no place.
func find(r *http.Request, city string) (place, int, error) {
	var found place
	ask, err := http.NewRequestWithContext(r.Context(), "GET", os.Getenv("PLACES_URL")+"/places/"+url.PathEscape(city), nil)
	if err != nil {
		return found, http.StatusBadRequest, err
	}
	for _, name := range []string{"traceparent", "tracestate", "x-request-id", "weft-deadline"} {
		if value := r.Header.Get(name); value != "" {
			ask.Header.Set(name, value)
		}
	}
	response, err := client.Do(ask)
	if err != nil {
		return found, http.StatusBadGateway, err
	}
	defer response.Body.Close()
	body := io.LimitReader(response.Body, 64*1024)
	if response.StatusCode == http.StatusNotFound {
		return found, http.StatusNotFound, fmt.Errorf("nobody knows where %s is", city)
	}
	if response.StatusCode != http.StatusOK {
		return found, http.StatusBadGateway, fmt.Errorf("places answered %s", response.Status)
	}
	return found, http.StatusBadGateway, json.NewDecoder(body).Decode(&found)
}

func weather(w http.ResponseWriter, r *http.Request) {
	city := strings.TrimPrefix(r.URL.Path, "/weather/")
	found, status, err := find(r, city)
	if err != nil {
		answer(w, status, map[string]any{"detail": err.Error(), "by": "go"})
		return
	}
	answer(w, 200, map[string]any{"celsius": math.Round(34 - 0.4*math.Abs(found.Latitude)), "by": "go"})
}

func main() {
	http.HandleFunc("/weather/", weather)
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, map[string]any{"status": "ok"}) })
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), ReadHeaderTimeout: 10 * time.Second}
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	done := make(chan struct{})
	go func() {
		<-asked.Done()
		server.Shutdown(context.Background())
		close(done)
	}()
	log.Printf("weather listens on %s", server.Addr)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-done
}
