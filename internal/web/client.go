package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"headwater/internal/trust"
)

// Client asks the door of another process.
type Client struct {
	// Address is host:port, Token that process's.
	Address, Token string
	// Certificate is that process's, in DER, if it has one.
	Certificate []byte
}

// Status asks for GET /api/v1/status.
func (c Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.ask(ctx, http.MethodGet, "/api/v1/status", nil, &s)
}

// Serialize asks for POST /api/v1/serialize; an error of the other side is a Fault.
func (c Client) Serialize(ctx context.Context, r SerializeRequest) (SerializeResult, error) {
	var result SerializeResult
	return result, c.ask(ctx, http.MethodPost, "/api/v1/serialize", r, &result)
}

// Tables asks for POST /api/v1/tables; an error of the other side is a Fault.
func (c Client) Tables(ctx context.Context, r TablesRequest) (TablesResult, error) {
	var result TablesResult
	return result, c.ask(ctx, http.MethodPost, "/api/v1/tables", r, &result)
}

// Day asks for GET /api/v1/day; an error of the other side is a Fault.
func (c Client) Day(ctx context.Context, r DayRequest) (DayResult, error) {
	var result DayResult
	query := url.Values{"source": {r.Source}, "date": {r.Date}}
	return result, c.ask(ctx, http.MethodGet, "/api/v1/day?"+query.Encode(), nil, &result)
}

// Runs asks for POST /api/v1/runs; an error of the other side is a Fault.
func (c Client) Runs(ctx context.Context, r RunsRequest) (RunsResult, error) {
	var result RunsResult
	return result, c.ask(ctx, http.MethodPost, "/api/v1/runs", r, &result)
}

// Tokens asks for POST /api/v1/tokens; an error of the other side is a Fault.
func (c Client) Tokens(ctx context.Context, r TokensRequest) (TokensResult, error) {
	var result TokensResult
	return result, c.ask(ctx, http.MethodPost, "/api/v1/tokens", r, &result)
}

// Try asks as somebody with a name and a password, or as nobody with an empty name, and gives the status of the answer, 200 or another; what the answer says is not read.
func (c Client) Try(ctx context.Context, name, password, method, path, body string) (status int, err error) {
	direct, scheme := trust.Direct(c.Certificate)
	req, err := http.NewRequestWithContext(ctx, method, scheme+c.Address+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if name != "" {
		req.SetBasicAuth(name, password)
	}
	resp, err := direct.Do(req)
	if err != nil {
		return 0, fmt.Errorf("asking the running process: %w", err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // that the answer is whole is not what is asked
	return resp.StatusCode, resp.Body.Close()
}

func (c Client) ask(ctx context.Context, method, path string, body, into any) error {
	var data io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		data = bytes.NewReader(encoded)
	}
	direct, scheme := trust.Direct(c.Certificate)
	req, err := http.NewRequestWithContext(ctx, method, scheme+c.Address+path, data)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	resp, err := direct.Do(req)
	if err != nil {
		return fmt.Errorf("asking the running process: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer := json.NewDecoder(io.LimitReader(resp.Body, 64<<20))
	if resp.StatusCode != http.StatusOK {
		var f Fault
		if err := answer.Decode(&f); err != nil || f.Message == "" {
			return fmt.Errorf("asking the running process for %s: it answered %s", path, resp.Status)
		}
		return f
	}
	if err := answer.Decode(into); err != nil {
		return fmt.Errorf("reading the answer of the running process to %s: %w", path, err)
	}
	return nil
}
