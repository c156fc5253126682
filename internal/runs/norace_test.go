//go:build !race

package runs

// virtualDays is how many days the long test takes.
const virtualDays = 400
