package webhook

import (
	"errors"
	"log/slog"
	"net/http"
)

var (
	errMethod  = errors.New("webhook: method is not POST")
	errRunning = errors.New("webhook: the event is being handled already")
)

// handlerError is an error of the receiver's own code: whatever it wraps, it says nothing about the request.
type handlerError struct{ error }

func (e handlerError) Unwrap() error { return e.error }

func statusOf(err error) int {
	var own handlerError
	switch {
	case err == nil:
		return http.StatusNoContent
	case errors.As(err, &own), errors.Is(err, ErrBodyConsumed):
		return http.StatusInternalServerError
	case errors.Is(err, errRunning):
		return http.StatusServiceUnavailable
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed
	case errors.Is(err, ErrBodyTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrUnsupportedMedia):
		return http.StatusUnsupportedMediaType
	case errors.Is(err, ErrNotVerified):
		return http.StatusUnauthorized
	}
	return http.StatusBadRequest // not an event, or the body could not be read
}

// twinRetryAfter is how long the sender of an event that is being handled should wait, in seconds: about as long as it
// would have waited for an answer.
const twinRetryAfter = "15"

// answer writes the status that err stands for, with the same text for every reason, and logs the reason.
func answer(w http.ResponseWriter, r *http.Request, logger *slog.Logger, e Event, err error) {
	status := statusOf(err)
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	level := slog.LevelWarn
	switch status {
	case http.StatusMethodNotAllowed: // anybody who looks in
		level = slog.LevelInfo
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		level = slog.LevelInfo
		w.Header().Set("Retry-After", twinRetryAfter)
	case http.StatusInternalServerError:
		level = slog.LevelError
	}
	loggerOr(logger).LogAttrs(r.Context(), level, "webhook: request refused",
		slog.Int("status", status), slog.String("event", e.Type), slog.String("id", e.ID), slog.Any("error", err))
	http.Error(w, http.StatusText(status), status)
}

// loggerOr is asked for each entry, so that slog.SetDefault works after a verifier or receiver was made too.
func loggerOr(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.Default()
	}
	return logger
}
