//go:build race

package runs

// virtualDays is how many days the long test takes; with the race detector each costs ten times as much.
const virtualDays = 40
