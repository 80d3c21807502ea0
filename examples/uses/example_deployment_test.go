package uses

import (
	"context"
	"errors"
	"fmt"

	"github.com/meshia/webhook"
)

// deployments is the queue of what is to be deployed. A worker takes from it, since a deployment takes longer than a
// sender waits for an answer.
type deployments chan string

func (d deployments) enqueue(model string) error {
	select {
	case d <- model:
		return nil
	default:
		return errors.New("too many deployments are waiting") // the sender tries again
	}
}

// Start a deployment: the best model of a plan goes out once the plan is complete. A redelivery of the event does not
// deploy it twice: the receiver knows its id.
func Example_startADeployment() {
	queue := make(deployments, 10)
	receiver := newReceiver()
	webhook.Handle(receiver, webhook.PlanCompleted, func(_ context.Context, _ webhook.Event, data webhook.PlanCompletedData) error {
		if data.BestExperimentID == "" {
			return nil // nothing succeeded
		}
		return queue.enqueue(data.BestExperimentID)
	})

	best := webhook.PlanCompleted.New("sess_abc123", webhook.PlanCompletedData{PlanID: "plan_ghi789", ExperimentsCompleted: 11, ExperimentsFailed: 1, BestExperimentID: "exp_def456"})
	none := webhook.PlanCompleted.New("sess_abc123", webhook.PlanCompletedData{PlanID: "plan_ghi790", ExperimentsFailed: 3})
	send(receiver, best, none, best)

	close(queue)
	for model := range queue {
		fmt.Println("deploying", model)
	}
	// Output:
	// plan.completed answered 204
	// plan.completed answered 204
	// plan.completed answered 204
	// deploying exp_def456
}
