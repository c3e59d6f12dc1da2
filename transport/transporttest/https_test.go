package transporttest_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/transporttest"
)

// serve runs an HTTPS server on a new net, which ends with the test.
func serve(t *testing.T, h http.HandlerFunc) (*transporttest.Net, *http.Client) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	must(t, err)

	n := transporttest.New()
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan error, 1)
	l := listen(t, n)
	go func() { ended <- server.Serve(tls.NewListener(l, config)) }()
	tr := &http.Transport{DialContext: n.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: got %v, want http.ErrServerClosed", err)
		}
		pass(time.Second) // the server's goroutines linger half a second behind a broken request
	})
	return n, &http.Client{Transport: tr}
}

func put(c *http.Client, body io.Reader) (string, error) {
	q, err := http.NewRequest(http.MethodPut, "https://"+addr+"/", body)
	if err != nil {
		return "", err
	}
	r, err := c.Do(q)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

// count answers with how much it has read, and how the body ended.
func count(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprint(w, n, " ", err)
}

func TestHTTPS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, client := serve(t, count)
		n.SetLatency(50 * time.Millisecond)
		for i := range 3 {
			began := time.Now()
			if got, err := put(client, strings.NewReader(strings.Repeat("x", 100_000))); got != "100000 <nil>" || err != nil {
				t.Errorf("got %q, %v, want all 100000 bytes", got, err)
			}
			// TCP and TLS cost a round trip each, and the request one.
			want := 100 * time.Millisecond
			if i == 0 {
				want *= 3
			}
			if took := time.Since(began); took != want {
				t.Errorf("request %d: took %v, want %v", i+1, took, want)
			}
		}
		if n.Dials() != 1 {
			t.Errorf("got %d dials, want one connection kept", n.Dials())
		}
		if got := n.Carried(transporttest.ToListener); got < 300_000 || got > 310_000 {
			t.Errorf("carried: got %d, want 300000 and the price of TLS and HTTP", got)
		}
	})
}

func TestHTTPSCutInMidBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan string, 1)
		n, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			got, err := io.Copy(io.Discard, r.Body)
			seen <- fmt.Sprint(got > 0 && got < 500_000, errors.Is(err, syscall.ECONNRESET))
			fmt.Fprint(w, got)
		})
		n.OnConnect(func(l *transporttest.Link) {
			if l.Number() == 1 {
				l.CutAfter(transporttest.ToListener, 500_000)
			}
		})
		body := strings.Repeat("x", 1_000_000)
		if got, err := put(client, strings.NewReader(body)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("client: got %q, %v, want a reset", got, err)
		}
		if got := <-seen; got != "true true" {
			t.Errorf("server: got %s, want part of the body and a reset", got)
		}
		if got := n.Carried(transporttest.ToListener); got != 500_000 {
			t.Errorf("carried: got %d, want 500000", got)
		}
		if got, err := put(client, strings.NewReader(body)); got != "1000000" || err != nil {
			t.Errorf("the next try: got %q, %v, want all of it", got, err)
		}
		<-seen
	})
}

func TestHTTPSStallAndRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, client := serve(t, count)
		n.SetLatency(10 * time.Millisecond)
		body, feed := io.Pipe()
		done := start(func() (string, error) { return put(client, body) })
		_, err := feed.Write(make([]byte, 100_000))
		must(t, err)
		n.Down(transporttest.Outage{})
		fed := start(func() (string, error) {
			_, err := feed.Write(make([]byte, 1_000_000))
			return "", errors.Join(err, feed.Close())
		})
		pass(10 * time.Minute)
		pending(t, "the body, with the link down", fed)
		n.Up()
		if r := <-done; r.text != "1100000 <nil>" || r.err != nil || r.after < 10*time.Minute || r.after > 11*time.Minute {
			t.Errorf("got %q, %v after %v, want all of it soon after the link is up", r.text, r.err, r.after)
		}
		if n.Dials() != 1 {
			t.Errorf("got %d dials, want the connection to have survived", n.Dials())
		}
	})
}

func TestHTTPSTimeoutIntoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, client := serve(t, count)
		n.Down(transporttest.Outage{})
		client.Timeout = time.Minute
		r := <-start(func() (string, error) { return put(client, nil) })
		if r.err == nil || r.after != time.Minute {
			t.Errorf("got %q, %v after %v, want a timeout after a minute", r.text, r.err, r.after)
		}
		n.Up()
		if got, err := put(client, nil); got != "0 <nil>" || err != nil {
			t.Errorf("after Up: got %q, %v", got, err)
		}
	})
}

// TLS finds what a broken wire does; nothing of it reaches the handler.
func TestHTTPSCorruption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, client := serve(t, count)
		n.OnConnect(func(l *transporttest.Link) { l.CorruptAt(transporttest.ToListener, 50_000) })
		if got, err := put(client, strings.NewReader(strings.Repeat("x", 100_000))); err == nil {
			t.Errorf("got %q, want an error", got)
		}
	})
}
