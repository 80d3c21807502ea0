package webhook

import "math"

// The event types of the documentation.
var (
	// SessionStarted fires when a GPU pod finishes provisioning and is ready.
	SessionStarted = NewEventType("session.started", "A GPU pod finishes provisioning and is ready.", SessionStartedData{
		Pod: "pod_7f3a", GPU: "H100", GPUCount: 1, Region: "us-east-1", ProvisioningSeconds: 94,
	})
	// SessionStopped fires when a session is stopped, by its user or auto-idle.
	SessionStopped = NewEventType("session.stopped", "A session is stopped (by you or auto-idle).", SessionStoppedData{
		StoppedBy: StoppedByAutoIdle, Reason: "no activity for 30 minutes", DurationSeconds: 5412,
	})
	// ExperimentCompleted fires when an experiment run finishes.
	ExperimentCompleted = NewEventType("experiment.completed", "An experiment run finishes.", ExperimentCompletedData{
		ExperimentID: "exp_def456", Metrics: Metrics{"loss": 0.0342, "accuracy": 0.921}, DurationSeconds: 1847,
	})
	// ExperimentFailed fires when an experiment run errors out.
	ExperimentFailed = NewEventType("experiment.failed", "An experiment run errors out.", ExperimentFailedData{
		ExperimentID: "exp_def456", Error: "CUDA out of memory", ExitCode: 1, Metrics: Metrics{"loss": math.NaN()}, DurationSeconds: 213,
	})
	// PlanCompleted fires when a research plan finishes all experiments.
	PlanCompleted = NewEventType("plan.completed", "A research plan finishes all experiments.", PlanCompletedData{
		PlanID: "plan_ghi789", ExperimentsCompleted: 11, ExperimentsFailed: 1, BestExperimentID: "exp_def456", DurationSeconds: 41260,
	})
	// PlanNeedsInput fires when the agent needs a decision on an ambiguous result.
	PlanNeedsInput = NewEventType("plan.needs_input", "The agent needs your decision on an ambiguous result.", PlanNeedsInputData{
		PlanID: "plan_ghi789", ExperimentID: "exp_def456", Question: "Loss plateaued after epoch 3. Continue, or try a lower learning rate?",
		Options: []PlanOption{{ID: "continue", Label: "Continue to epoch 10"}, {ID: "lower_lr", Label: "Restart with learning rate 1e-5"}},
	})
	// WorkflowCompleted fires when a scheduled workflow finishes.
	WorkflowCompleted = NewEventType("workflow.completed", "A scheduled workflow finishes.", WorkflowCompletedData{
		WorkflowID: "wf_jkl012", RunID: "run_42", Name: "nightly-eval", StepsCompleted: 5, DurationSeconds: 902,
	})
	// WorkflowFailed fires when a workflow step fails and the workflow halts.
	WorkflowFailed = NewEventType("workflow.failed", "A workflow step fails and the workflow halts.", WorkflowFailedData{
		WorkflowID: "wf_jkl012", RunID: "run_43", Name: "nightly-eval", FailedStep: "train", Error: "step exited with code 137", StepsCompleted: 2, DurationSeconds: 388,
	})
)

const pingName = "ping"

// ping goes to one endpoint when it is added, when its URL changes, and on demand. It is never matched with
// subscriptions.
var ping = newEventType(pingName, "Sent to a new webhook to see whether it answers.", PingData{WebhookID: "we_mno345", Events: []string{"experiment.completed"}})

// Ping returns the event type of pings, for receivers that look into them; a [Receiver] answers them by itself.
func Ping() EventType[PingData] { return ping }

var defaultRegistry = NewRegistry(SessionStarted, SessionStopped, ExperimentCompleted, ExperimentFailed,
	PlanCompleted, PlanNeedsInput, WorkflowCompleted, WorkflowFailed)

// DefaultRegistry returns the registry of the eight documented event types.
func DefaultRegistry() *Registry { return defaultRegistry }

// SessionStartedData is the data of [SessionStarted].
type SessionStartedData struct {
	Pod      string `json:"pod"`       // the pod that became ready
	GPU      string `json:"gpu"`       // its GPU model, such as "H100"
	GPUCount int    `json:"gpu_count"` // how many of them it has
	Region   string `json:"region,omitempty"`
	// ProvisioningSeconds is how long it took from the request until the pod was ready.
	ProvisioningSeconds int64 `json:"provisioning_seconds"`
}

// Who stopped a session.
const (
	StoppedByUser     = "user"
	StoppedByAutoIdle = "auto_idle"
)

// SessionStoppedData is the data of [SessionStopped].
type SessionStoppedData struct {
	StoppedBy string `json:"stopped_by"` // StoppedByUser or StoppedByAutoIdle
	Reason    string `json:"reason,omitempty"`
	// DurationSeconds is how long the session ran.
	DurationSeconds int64 `json:"duration_seconds"`
}

// ExperimentCompletedData is the data of [ExperimentCompleted].
type ExperimentCompletedData struct {
	ExperimentID    string  `json:"experiment_id"`
	Metrics         Metrics `json:"metrics"`
	DurationSeconds int64   `json:"duration_seconds"`
}

// ExperimentFailedData is the data of [ExperimentFailed].
type ExperimentFailedData struct {
	ExperimentID string `json:"experiment_id"`
	Error        string `json:"error"` // what went wrong, for people
	ExitCode     int    `json:"exit_code,omitempty"`
	// Metrics holds what was measured before the run failed.
	Metrics         Metrics `json:"metrics,omitempty"`
	DurationSeconds int64   `json:"duration_seconds"`
}

// PlanCompletedData is the data of [PlanCompleted].
type PlanCompletedData struct {
	PlanID               string `json:"plan_id"`
	ExperimentsCompleted int    `json:"experiments_completed"`
	ExperimentsFailed    int    `json:"experiments_failed"`
	BestExperimentID     string `json:"best_experiment_id,omitempty"`
	DurationSeconds      int64  `json:"duration_seconds"`
}

// PlanNeedsInputData is the data of [PlanNeedsInput].
type PlanNeedsInputData struct {
	PlanID       string       `json:"plan_id"`
	ExperimentID string       `json:"experiment_id,omitempty"` // the experiment with the ambiguous result
	Question     string       `json:"question"`
	Options      []PlanOption `json:"options"`
}

// PlanOption is one of the answers to choose from in [PlanNeedsInputData].
type PlanOption struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

// WorkflowCompletedData is the data of [WorkflowCompleted].
type WorkflowCompletedData struct {
	WorkflowID      string `json:"workflow_id"`
	RunID           string `json:"run_id"`
	Name            string `json:"name,omitempty"`
	StepsCompleted  int    `json:"steps_completed"`
	DurationSeconds int64  `json:"duration_seconds"`
}

// WorkflowFailedData is the data of [WorkflowFailed].
type WorkflowFailedData struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
	Name       string `json:"name,omitempty"`
	FailedStep string `json:"failed_step"` // the step that failed and halted the workflow
	Error      string `json:"error"`       // what went wrong, for people
	// StepsCompleted counts the steps that had finished before.
	StepsCompleted  int   `json:"steps_completed"`
	DurationSeconds int64 `json:"duration_seconds"`
}

// PingData is the data of a ping.
type PingData struct {
	WebhookID string   `json:"webhook_id"` // the endpoint's id
	Events    []string `json:"events"`     // what it subscribed to
}
