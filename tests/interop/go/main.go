// A workload in Go: asks the Workload API at SPIFFE_ENDPOINT_SOCKET through go-spiffe and says in JSON, one line an
// event, what it got. Usage: client fetch | watch | wit | jwt
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/exp/svid/witsvid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/status"
)

type svid struct {
	ID       string `json:"id"`
	Hint     string `json:"hint"`
	Serial   string `json:"serial"`
	Verified bool   `json:"verified"`
}

type event struct {
	SVIDs   []svid         `json:"svids"`
	Bundles map[string]int `json:"bundles"`
	Code    string         `json:"code,omitempty"`
	Message string         `json:"message,omitempty"`
}

func say(e event) {
	if err := json.NewEncoder(os.Stdout).Encode(e); err != nil {
		os.Exit(1)
	}
}

func failed(err error) event {
	s, _ := status.FromError(err)
	return event{Code: s.Code().String(), Message: s.Message()}
}

func told(c *workloadapi.X509Context) event {
	e := event{Bundles: map[string]int{}}
	for _, s := range c.SVIDs {
		_, _, err := x509svid.Verify(s.Certificates, c.Bundles)
		e.SVIDs = append(e.SVIDs, svid{s.ID.String(), s.Hint, s.Certificates[0].SerialNumber.Text(16), err == nil})
	}
	for _, b := range c.Bundles.Bundles() {
		e.Bundles[b.TrustDomain().Name()] = len(b.X509Authorities())
	}
	return e
}

// Tokens for an audience, verified with the bundles, and by the agent, which refuses them for another audience.
func tokens(ctx context.Context) event {
	svids, err := workloadapi.FetchJWTSVIDs(ctx, jwtsvid.Params{Audience: "db"})
	if err != nil {
		return failed(err)
	}
	bundles, err := workloadapi.FetchJWTBundles(ctx)
	if err != nil {
		return failed(err)
	}
	e := event{Bundles: map[string]int{}}
	for _, b := range bundles.Bundles() {
		e.Bundles[b.TrustDomain().Name()] = len(b.JWTAuthorities())
	}
	for _, s := range svids {
		_, verified := jwtsvid.ParseAndValidate(s.Marshal(), bundles, []string{"db"})
		_, validated := workloadapi.ValidateJWTSVID(ctx, s.Marshal(), "db")
		_, refused := workloadapi.ValidateJWTSVID(ctx, s.Marshal(), "other")
		good := verified == nil && validated == nil && refused != nil
		e.SVIDs = append(e.SVIDs, svid{ID: s.ID.String(), Hint: s.Hint, Verified: good})
	}
	return e
}

type watcher struct{}

func (watcher) OnX509ContextUpdate(c *workloadapi.X509Context) { say(told(c)) }
func (watcher) OnX509ContextWatchError(err error)              { say(failed(err)) }

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	switch mode := os.Args[1]; mode {
	case "fetch":
		c, err := workloadapi.FetchX509Context(ctx)
		if err != nil {
			say(failed(err))
			return
		}
		bundles, err := workloadapi.FetchX509Bundles(ctx)
		if err != nil {
			say(failed(err))
			return
		}
		e := told(c)
		e.Bundles = map[string]int{}
		for _, b := range bundles.Bundles() {
			e.Bundles[b.TrustDomain().Name()] = len(b.X509Authorities())
		}
		say(e)
	case "watch":
		if err := workloadapi.WatchX509Context(ctx, watcher{}); err != nil {
			say(failed(err))
		}
	case "wit":
		var s *witsvid.SVID
		s, err := workloadapi.FetchWITSVID(ctx, "")
		if err != nil {
			say(failed(err))
			return
		}
		fmt.Fprintln(os.Stderr, s)
		os.Exit(1)
	case "jwt":
		say(tokens(ctx))
	default:
		fmt.Fprintln(os.Stderr, "fetch, watch, wit or jwt, not", mode)
		os.Exit(2)
	}
}
