package server

import (
	"encoding/json"

	"github.com/cagenut/cagenut/internal/postgres"
)

func outboxStart(payload string) postgres.OutboxItem {
	return postgres.OutboxItem{ID: 1, Kind: postgres.OutboxStart, Payload: json.RawMessage(payload)}
}

func outboxSignal(payload string) postgres.OutboxItem {
	return postgres.OutboxItem{ID: 2, Kind: postgres.OutboxSignal, Payload: json.RawMessage(payload)}
}
