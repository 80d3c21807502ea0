package storetest

var limitFaults []fault
