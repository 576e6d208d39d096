// The usual Go program: a goroutine for each connection, with a buffer. `net-go MODE [BACKEND PORT]` prints its port and
// serves until it is killed.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

const (
	bufferSize = 16 << 10
	request    = 64
	pieces     = 32
)

var (
	piece   = []byte("sixteen bytes.\r\n")
	lock    sync.Mutex
	members = map[net.Conn]struct{}{}
)

func main() {
	mode := os.Args[1]
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		connection, err := listener.Accept()
		if err != nil {
			continue
		}
		switch mode {
		case "chatty":
			go chat(connection)
		case "broadcast":
			go join(connection)
		case "proxy":
			go proxy(connection, os.Args[2])
		default:
			go echo(connection)
		}
	}
}

func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, bufferSize)
	for {
		count, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:count]); err != nil {
			return
		}
	}
}

func chat(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, bufferSize)
	bytes := 0
	for {
		count, err := connection.Read(buffer)
		if err != nil {
			return
		}
		for bytes += count; bytes >= request; bytes -= request {
			for written := 0; written < pieces; written++ {
				if _, err := connection.Write(piece); err != nil {
					return
				}
			}
		}
	}
}

func join(connection net.Conn) {
	defer connection.Close()
	lock.Lock()
	members[connection] = struct{}{}
	lock.Unlock()
	defer func() {
		lock.Lock()
		delete(members, connection)
		lock.Unlock()
	}()
	connection.Write([]byte("+"))
	buffer := make([]byte, bufferSize)
	for {
		count, err := connection.Read(buffer)
		if err != nil {
			return
		}
		lock.Lock()
		for member := range members {
			member.Write(buffer[:count])
		}
		lock.Unlock()
	}
}

func proxy(front net.Conn, port string) {
	defer front.Close()
	back, err := net.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		return
	}
	defer back.Close()
	go func() {
		io.Copy(front, back)
		front.Close()
	}()
	io.Copy(back, front)
}
